"""The Python API, which the commands are shells over: `import ssv_tf` offers its public names."""
