"""Download, verify and lay out the data sets of the book, one small script a set."""


class DataError(Exception):
    """A data set could not be prepared; the message says what to do."""
