"""Models from elsewhere: a network file, a program or a bundle, made into a bundle of this node."""
