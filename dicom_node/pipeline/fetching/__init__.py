"""What the node asks of archives by itself: counts, missing instances, priors; in threads beside the indexing."""

from dicom_node.pipeline.fetching.fetch_thread import Fetching, FetchThread

__all__ = ["FetchThread", "Fetching"]
