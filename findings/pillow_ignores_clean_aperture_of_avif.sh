#!/usr/bin/env bash
# Pillow 13.0 shows all of an AVIF picture that has a clean aperture ('clap'), which says that only a
# part of it is the picture.
#
# Version:  Pillow 13.0.0; beside it pillow-heif 1.8.1, which is libheif.
# Expected: the part, 32 x 16 and red. In ISO/IEC 23008-12 'clap' is a transformative item property,
#           as 'irot' and 'imir' are; Pillow obeys these two.
# Seen:     Pillow 64 x 48 with a blue corner; pillow-heif says 32 x 16 of the same bytes (it brings
#           no decoder of AV1 to show them).
#
# It matters to whoever judges what a viewer sees: the part fills the window of a viewer with libheif.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -q --disable-pip-version-check "pillow==13.0.0" "pillow-heif==1.8.1"

seen=$("$folder/venv/bin/python" - <<'PYTHON'
import io
import struct

import pillow_heif
from PIL import Image

picture = Image.new("RGB", (64, 48), "blue")
picture.paste("red", (16, 16, 48, 32))
file = io.BytesIO()
picture.save(file, "AVIF", quality=95)
data = bytearray(file.getvalue())


def size_at(place):
    return struct.unpack_from(">I", data, place)[0]


def grow(place, by):
    struct.pack_into(">I", data, place, size_at(place) + by)


ipma = data.index(b"ipma") - 4
ipco = data.index(b"ipco") - 4
count, place = 0, ipco + 8
while place < ipco + size_at(ipco):
    count, place = count + 1, place + size_at(place)
# Width 32, height 16, in the middle.
clap = struct.pack(">I4s8I", 40, b"clap", 32, 1, 16, 1, 0, 1, 0, 1)
begin = data.index(b"mdat") + 4
# One item: its number of properties stands after version, entries and the item's id.
properties = ipma + 18
data[properties] += 1
grow(ipma, 1)
data.insert(ipma + size_at(ipma) - 1, 0x80 | (count + 1))
data[ipma:ipma] = clap
for name, by in ((b"ipco", 40), (b"iprp", 41), (b"meta", 41)):
    grow(data.index(name) - 4, by)
iloc = data.index(b"iloc")
place = data.index(struct.pack(">I", begin), iloc)
struct.pack_into(">I", data, place, begin + 41)

whole = Image.open(io.BytesIO(bytes(data))).convert("RGB")
part = pillow_heif.open_heif(io.BytesIO(bytes(data)))


def corner(image):
    red, _, blue = image.getpixel((1, 1))[:3]
    return "red" if red > blue else "blue"


print("Pillow", *whole.size, corner(whole))
print("pillow-heif", *part.size)
PYTHON
)
echo "$seen"
test "$seen" = "Pillow 64 48 blue
pillow-heif 32 16"
