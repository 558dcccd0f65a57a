"""Formulas on shapes, cameras and pictures: no files, no networks, no ffmpeg."""
