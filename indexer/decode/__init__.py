"""Bytes to pictures: what a viewer would see, or a coded reason why there is nothing to see."""

from saferank.indexer.decode.decoder import Decoded, decode
from saferank.indexer.decode.reference import decode_reference

__all__ = ["Decoded", "decode", "decode_reference"]
