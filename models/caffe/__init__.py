"""The Caffe file format, and its conversion to ONNX."""
