"""What the stages that run a network share: a bundle opened into a network, and pictures run through it. No plugin by itself."""
