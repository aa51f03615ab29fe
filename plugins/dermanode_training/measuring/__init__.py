"""Photographs taken through the plugins that serve, and the figures that are told of them."""
