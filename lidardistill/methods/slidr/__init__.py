"""SLidR."""
