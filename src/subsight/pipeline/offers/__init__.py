"""From usage to a map of subscribers, what its nodes are offered, and who is recommended what: two areas.

usage -> members -> map -> offers per node -> judged on later purchases -> answers     (`preparing`)
members -> filters -> recommendations, part by part -> what came of earlier ones       (`job`)
"""

from subsight.pipeline.offers.job import Job
from subsight.pipeline.offers.preparing import area, prepare

__all__ = ["Job", "area", "prepare"]
