"""What happens beside training: checkpoints to continue from, averages of weights, watch over losses."""
