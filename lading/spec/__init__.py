"""Compiled pipelines and components: reading, checking and changing what KFP's compiler wrote, without KFP."""
