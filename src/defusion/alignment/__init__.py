"""Alignment: moves frames until they line up, and says how well that went.

frames.py       which frame stays as it is, and what becomes of the others
look.py         a small copy of each frame, which is all that most steps see
stack.py        a chain of neighbours, adjusted together
pair.py         one frame to another: search, votes of blocks, refinement
search.py  voting.py  refinement.py  verdict.py     the steps of that
representation.py  geometry.py  tones.py            what is compared, and the models of motion
fullsize.py     the last fractions of a pixel for large frames
warp.py         frames warped when they are read
motion.py       moving things in a bracket, shown by one frame
owners.py       the same in a focus stack
levelling.py    brightness and white balance of a focus stack
record.py       the result: in --json, in a file
"""
