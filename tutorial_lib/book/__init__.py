"""The course as a static site: executed notebooks to read and search offline.

Not jupyter-book, for two needs: a search that finds Chinese, which has no spaces between words, and
one small font with the Chinese characters that the pages use. Both work offline.
"""
