"""What the tests of the project and of a vendor share: scenes, loopback peers, the conformance kit."""
