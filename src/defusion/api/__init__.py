"""What users call: `fuse` and the other functions, `Fuser`, options and results. `import defusion` offers these
names.
"""
