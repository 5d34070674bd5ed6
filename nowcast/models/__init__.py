"""Forecasting networks: (B, T_in, C, H, W) → (B, steps, C, H, W), both scaled, any H and W."""
