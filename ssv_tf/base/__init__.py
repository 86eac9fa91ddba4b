"""What every package stands on: errors, files, the command line; knows nothing of viewpoints."""
