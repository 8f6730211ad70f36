"""Frames that do not line up are laid upon each other, and how well that went is said.

frames.py       which frame stays, what becomes of the others
stack.py        neighbours, chained and bundled
pair.py         the ladder: search, votes, refinement
search.py  voting.py  refinement.py  verdict.py     its rungs
representation.py  geometry.py                      what they compare, and the motions that they know
fullsize.py     the last parts of a pixel of large frames
warp.py         frames warped where they are looked at
motion.py       what moves between exposures, given to one frame
levelling.py    brightness and white balance of a focus stack
record.py       what was found: in --json, in a file
"""
