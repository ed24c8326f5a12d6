import Device

extension SessionServer {
    /// Takes over what can change under running clients: their successors' rights and
    /// quotas, the time-out of jobs and what is done about missing barriers.
    public func reconfigure(_ configuration: DaemonConfiguration) {
        policy.withLock { $0 = SessionPolicy(configuration, after: $0) }
        let new = DeviceSessions.deviceConfiguration(configuration)
        device.change(quotas: new.quotas, jobTimeout: new.jobTimeout)
        for engine in nouveau.engines { engine.hazards = new.hazards }
    }
}
