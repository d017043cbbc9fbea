"""Building nets from blocks, and what they cost."""

from saferank.models.builder.nets import NETS, Classifier, Net, deploy_net, find_net, train_net

__all__ = ["NETS", "Classifier", "Net", "deploy_net", "find_net", "train_net"]
