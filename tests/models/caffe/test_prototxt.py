import pytest

from saferank.errors import ModelFormatError
from saferank.models.caffe import parse_prototxt

NET = b"""name: "n"
layer {
  name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 3 } }
}
layer {
  name: "fc"
  type: "InnerProduct"
  bottom: "data" top: "fc"
  inner_product_param {
    num_output: 2
  }
}
"""


def test_each_layer_knows_its_lines() -> None:
    data, fc = parse_prototxt(NET, "net.prototxt").lines
    assert (data.name, data.start) == ("data", 2)
    assert (fc.name, fc.start) == ("fc", 6)
    assert fc.fields["num_output"] == 11
    assert data.fields["dim"] == 4


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbf" + NET,
        NET.replace(b"\n", b"\r\n"),
        NET.replace(b'name: "n"', b'name: "n"  # caf\xe9, in Latin-1'),
        NET.replace(b"layer {", b"# layer { name: 'no'\nlayer {"),
        NET.replace(b"num_output: 2", b"num_output: 0x2"),
    ],
)
def test_what_caffe_reads_is_read(text: bytes) -> None:
    parsed = parse_prototxt(text, "net.prototxt")
    assert [block.name for block in parsed.lines] == ["data", "fc"]
    assert parsed.message.layer[1].inner_product_param.num_output == 2


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (b"num_output: 2", b"num_output: two", "net.prototxt:11: "),
        (b"num_output: 2", b"num_outputs: 2", "did you mean num_output"),
        (b"num_output: 2", b"num_output: -2", "net.prototxt:11: "),
        (b'name: "fc"', b'name: "f\xe9"', "UTF-8"),
        (b"  }\n}\n", b"  }\n", "net.prototxt:"),
    ],
)
def test_a_fault_is_told_with_its_line(before: bytes, after: bytes, message: str) -> None:
    text = NET[: NET.rindex(before)] + after + NET[NET.rindex(before) + len(before) :]
    with pytest.raises(ModelFormatError, match=message):
        parse_prototxt(text, "net.prototxt")


def test_layers_written_as_a_list_are_read() -> None:
    text = b'layer: [{ name: "a" type: "Input" top: "a" }, { name: "b" type: "ReLU" bottom: "a" }]'
    parsed = parse_prototxt(text, "net.prototxt")
    assert [layer.name for layer in parsed.message.layer] == ["a", "b"]
    assert parsed.lines == []
