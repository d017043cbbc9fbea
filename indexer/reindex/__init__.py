"""Copying an index into a new one while it is in use, and moving an alias from one to the other.

``start`` takes hold of the job and ``steps`` runs it. Of the steps, ``follow`` copies (by
``changes``, ``copier`` and ``merge``), ``scores`` has the copies scored, ``writes`` refuses writes
for a moment, ``verify`` compares and ``aliases`` moves; ``progress`` keeps the record.
"""
