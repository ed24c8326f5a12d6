extension NVIDIAContext {
    /// Looks for a missing barrier before a copy.
    func track(
        _ launch: CopyLaunch, source: Footprint?, destination: Footprint?
    ) throws(EngineFailure) {
        let finding = channel.hazards.note(
            source: source, destination: destination, isPipelined: launch.isPipelined,
            site: site)
        guard finding.isHazard else { return }
        tally.hazards &+= 1
        guard let found = finding.hazard else { return }
        let record = fail(
            found.kind == .readAfterWrite ? .source : .destination, .hazard(found))
        if engine.hazards == .fail { throw record }
        hazard = record
    }
}
