"""Signatures of images and of statements about them: ECDSA on P-256, in the formats of sigstore and cosign."""
