/// What a new configuration means to a daemon that runs with another one.
struct ConfigurationChange: Sendable, Equatable {
    /// One key that differs.
    struct Item: Sendable, Equatable {
        /// Section and name.
        let key: String
        /// Its value in force, as the file would have it; nil if it is not set.
        let old: String?
        /// Its value in the file.
        let new: String?
        /// When that takes effect.
        let effect: ReloadEffect
    }

    /// The configuration to go on with: that in force, and the new one's values where a running
    /// daemon can take them.
    let configuration: DaemonConfiguration
    /// What it takes over, in the order of the keys.
    let applied: [Item]
    /// What differs and needs a restart.
    let postponed: [Item]

    /// Compares the configuration in force with the file's.
    init(from current: DaemonConfiguration, to new: DaemonConfiguration) {
        var merged = current
        var applied: [Item] = []
        var postponed: [Item] = []
        for key in ConfigurationSchema.keys {
            let item = Item(
                key: key.path, old: key.write(current), new: key.write(new),
                effect: key.reloadEffect)
            guard item.old != item.new else { continue }
            if item.effect == .restart {
                postponed.append(item)
            } else {
                key.copy(new, &merged)
                applied.append(item)
            }
        }
        configuration = merged
        self.applied = applied
        self.postponed = postponed
    }
}
