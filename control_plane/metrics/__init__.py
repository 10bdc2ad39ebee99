"""What Prometheus is told of a control plane. Label sets are bounded; a label for each tenant only where it is asked for."""
