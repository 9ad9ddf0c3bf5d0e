//! What the fuzz targets run, and the tests that replay their corpora.
