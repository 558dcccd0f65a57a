"""Reading and writing media: the only code that starts ffmpeg."""
