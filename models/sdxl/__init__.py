"""SDXL with ControlNets and perturbed-attention guidance: our own loop over diffusers' modules.

    text, encode ──► denoise (schedule, controls, guidance, unet) ──► decode          render: the pass that calls them

Same numbers as diffusers 0.42.1's pipelines, with about a quarter of their arithmetic left out (savings.Savings).
"""
