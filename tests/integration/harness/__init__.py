"""What the integration tests stand on: throw-away servers, the pooler under test, a raw protocol client."""
