"""The pictures of a report: points, images, maps and curves as arrays or encoded files."""
