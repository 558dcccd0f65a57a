"""How good a finished video is, alone or beside the real one."""
