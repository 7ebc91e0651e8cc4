"""Where a method is published, as data that listings, docs and other programs can use."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Citation:
    """A publication.

    >>> print(Citation("Deep Cross-Modal Hashing", "Jiang, Li", "CVPR", 2017, doi="10.1109/CVPR.2017.348"))
    Jiang, Li: Deep Cross-Modal Hashing, CVPR 2017, https://doi.org/10.1109/CVPR.2017.348
    """

    title: str
    authors: str
    """As printed, separated by commas; "et al." where we know only the first; "anonymous" where a paper under review
    hides them."""
    venue: str
    year: int
    doi: str = ""
    """Empty where it is not known for sure, or there is none."""
    url: str = ""
    """The address of the paper, where there is no DOI."""
    code: str = ""
    """The address of the authors' public code."""

    @property
    def link(self) -> str:
        """Return the address of the paper: that of the DOI, else `url`; empty where neither is known."""
        return f"https://doi.org/{self.doi}" if self.doi else self.url

    def __str__(self) -> str:
        return ", ".join(filter(None, [f"{self.authors}: {self.title}", f"{self.venue} {self.year}", self.link]))
