"""The runtime of nx-ec2: what an SSM command runs on the instance. Python 3.8, standard library."""
