"""Caffe classifiers: files in, probability out."""
