"""What every process offers: settings, logs, health, metrics, a control API."""
