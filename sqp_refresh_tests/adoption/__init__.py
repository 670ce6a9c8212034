"""Tests of what takes the place of an older system."""
