"""Engines that run Flower ClientApps: the process pool behind Flower's ``Grid`` interface."""
