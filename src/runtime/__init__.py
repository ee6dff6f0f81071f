"""The runtime of nx-ec2: what an SSM command runs on the instance. Standard library, Python 3.8+."""
