/// What this build calls itself.
public enum DaemonVersion {
    /// The release, by the rules of semantic versioning.
    public static let string = "0.1.0"
}
