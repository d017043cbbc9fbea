"""Bytes to pictures: what a viewer would see, or a coded reason why there is nothing to see."""

from saferank.indexer.decode.decoder import decode, decode_reference
from saferank.indexer.decode.reading import Decoded

__all__ = ["Decoded", "decode", "decode_reference"]
