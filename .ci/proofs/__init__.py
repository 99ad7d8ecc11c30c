"""What the proofs share: a stack to run against, its API, a program, images of file systems, system calls that fail."""
