"""The rules on a GPU: kernels around them, their compilation to PTX, and the driver that runs it; no torch.

Nothing here is loaded before a batch on a GPU is asked for (envs/cuda_vec_env.py).
"""
