#!/usr/bin/env bash
# Pillow 13.0 hides nothing by the transparent colour of a grey PNG of two or four bits a pixel: it
# widens the pixels to eight bits and compares them with the colour as it is stored.
#
# Version:  Pillow 13.0.0.
# Expected: of the greys 0 to 3 the second, 85 of 255, transparent: alpha 255, 0, 255, 255. The PNG
#           specification (11.3.2.1) gives the colour in the picture's own depth.
# Seen:     alpha 255, 255, 255, 255; the same picture at eight bits has 255, 0, 255, 255.
#
# It matters to whoever judges what a viewer sees: browsers show the page there.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -q --disable-pip-version-check "pillow==13.0.0"

seen=$("$folder/venv/bin/python" - <<'PYTHON'
import io
import struct
import zlib

from PIL import Image


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(depth, row, transparent):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 1, depth, 0, 0, 0, 0))
    colour = chunk(b"tRNS", struct.pack(">H", transparent))
    pixels = chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + colour + pixels


for data in (png(2, bytes([0b00011011]), 1), png(8, bytes([0, 85, 170, 255]), 85)):
    image = Image.open(io.BytesIO(data))
    image.load()
    print(*image.convert("L").tobytes(), "alpha", *image.convert("RGBA").getchannel("A").tobytes())
PYTHON
)
echo "$seen"
test "$seen" = "0 85 170 255 alpha 255 255 255 255
0 85 170 255 alpha 255 0 255 255"
