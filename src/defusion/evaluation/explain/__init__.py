"""What the networks see, as in section 4.2 of the paper.

cases.py        toy cases: scenes of which each source lacks a part
toys.py         what the networks make of them (Fig. 7)
embeddings.py   where the embeddings of the paper's network are active (Fig. 8)
figures.py      draws both
"""
