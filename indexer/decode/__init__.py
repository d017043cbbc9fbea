"""Bytes to pictures: what a viewer would see, or a coded reason why there is nothing to see.

To show any file otherwise than before is to give it another probability: whoever changes that
changes ``saferank.models.preprocess.VIEWED``, which is part of what is stored with every score.
"""

from saferank.indexer.decode.decoder import decode, decode_reference, decode_scaled
from saferank.indexer.decode.reading import Decoded

__all__ = ["Decoded", "decode", "decode_reference", "decode_scaled"]
