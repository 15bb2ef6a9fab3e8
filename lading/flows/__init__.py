"""What chains verbs outside KFP: running a pipeline on this machine."""
