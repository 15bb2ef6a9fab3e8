"""Images as bytes: layers, configurations, manifests and layouts (OCI image specification 1.1). No sockets here."""
