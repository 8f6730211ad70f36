"""What users call: `fuse` and its kin, `Fuser`, options and results. `import defusion` hands these names on."""
