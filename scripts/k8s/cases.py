"""What may go wrong, one thing a row, and the words in which the check says so."""

import re
from collections.abc import Callable
from dataclasses import dataclass

Edit = Callable[[str], str]


def replace(old: str, new: str) -> Edit:
    """Replaces the one place that matches the pattern; a test that hits nothing tests nothing."""

    def edit(text: str) -> str:
        text, count = re.subn(old, new, text, count=2, flags=re.MULTILINE)
        assert count == 1, f"{count} places match {old!r}, want 1"
        return text
    return edit


def first(old: str, new: str) -> Edit:
    """Replaces the first of several places; of the topics that is heliograph.uploads."""
    def edit(text: str) -> str:
        assert old in text, f"no place has {old!r}"
        return text.replace(old, new, 1)
    return edit


def append(more: str) -> Edit:
    return lambda text: text + more


@dataclass(frozen=True)
class Case:
    """`name` is what is wrong with `file` after `edit`; a finding holds all of `words`."""

    check: str
    name: str
    file: str
    edit: Edit
    words: tuple[str, ...]


def base(file: str) -> str:
    return f"k8s/base/{file}"


GATEWAY, WRITER, QUERY = base("gateway.yaml"), base("writer.yaml"), base("query.yaml")
PROCESS, SERVICE = base("patches/process.yaml"), base("patches/service.yaml")
TOML, TOPICS, NETWORK = base("heliograph.toml"), base("kafka-topics.yaml"), base("network.yaml")
KAFKA, USERS, CLICKHOUSE = base("kafka.yaml"), base("kafka-users.yaml"), base("clickhouse.yaml")
PROD = "k8s/overlays/prod"
A_SECRET = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: s\n  namespace: heliograph\n"

CASES = [
    # ---- Dockerfile
    Case("images", "what hadolint finds", "Dockerfile", replace("^WORKDIR /src$", "WORKDIR src"),
         ("Dockerfile", "DL3000", "absolute WORKDIR")),
    Case("images", "a base without a tag", "Dockerfile",
         replace("RUNTIME_IMAGE=debian:12.12-slim", "RUNTIME_IMAGE=debian"),
         ("runtime: FROM debian: want name:tag",)),
    Case("images", "an image that runs as root", "Dockerfile", replace("^USER .*$", "USER root"),
         ("gateway: USER: want a number above 0",)),
    Case("images", "an image that nobody builds", "Dockerfile",
         replace("^FROM runtime AS writer$", "FROM runtime AS wirter"),
         ("no target writer, which k8s/ deploys",)),

    # ---- manifests that an API would refuse, or read otherwise
    Case("shapes", "an overlay that cannot be built", f"{PROD}/kustomization.yaml",
         replace("keeper.yaml", "keper.yaml"), ("prod", "kustomize build", "keper.yaml")),
    Case("shapes", "an unknown field", GATEWAY, replace("serviceName:", "servicename:"),
         ("StatefulSet gateway", "servicename", "Kubernetes 1.33")),
    Case("shapes", "an unknown field deep in a pod", SERVICE,
         replace("failureThreshold: 6", "failureTreshold: 6"),
         ("spec.template.spec.containers.0.livenessProbe", "failureTreshold")),
    Case("shapes", "a value of another type", QUERY, replace("replicas: 1", "replicas: one"),
         ("Deployment query", "spec.replicas", "one")),
    Case("shapes", "an API version that is gone", f"{PROD}/disruption.yaml",
         lambda text: text.replace("policy/v1", "policy/v1beta1", 1),
         ("PodDisruptionBudget", "policy/v1beta1")),
    Case("shapes", "Strimzi without an API version of today", USERS,
         lambda text: text.replace("strimzi.io/v1", "strimzi.io/v1beta2", 1),
         ("KafkaUser heliograph-gateway", "apiVersion", "schemas/k8s/kafkauser.json")),
    Case("shapes", "a field that Strimzi does not have", KAFKA,
         replace("kraftMetadata", "kraftmetadata"),
         ("KafkaNodePool brokers", "spec.storage.volumes.0", "kraftmetadata")),
    Case("shapes", "a topic that belongs to no cluster", TOPICS,
         lambda text: text.replace("strimzi.io/cluster", "strimzi.io/clutser", 1),
         ("KafkaTopic heliograph.uploads", "metadata.labels", "strimzi.io/cluster")),
    Case("shapes", "an operation that Kafka does not have", USERS,
         lambda text: text.replace("[Read, Describe]", "[Consume, Describe]", 1),
         ("KafkaUser heliograph-gateway", "acls.0.operations", "Consume")),
    Case("shapes", "a field that ClickHouse's operator does not have", CLICKHOUSE,
         replace("shardsCount: 1", "shards: 1"),
         ("ClickHouseInstallation heliograph", "clusters.0.layout", "shards")),
    Case("shapes", "a pod of ClickHouse that Kubernetes would refuse", CLICKHOUSE,
         replace("capabilities: { drop: \\[ALL\\] }", "capability: { drop: [ALL] }"),
         ("ClickHouseInstallation", "podTemplates.0.spec.containers.0.securityContext",
          "capability")),
    Case("shapes", "a number of Keepers without a majority", f"{PROD}/keeper.yaml",
         replace("replicasCount: 3", "replicasCount: 2"),
         ("ClickHouseKeeperInstallation", "replicasCount", "2 is not one of")),
    Case("shapes", "a field that a PodMonitor does not have",
         "k8s/components/prometheus/pod-monitor.yaml", replace("scrapeTimeout", "timeout"),
         ("PodMonitor heliograph", "podMetricsEndpoints.0", "timeout")),

    # ---- limits, probes, rights, images
    Case("policy", "no limit of memory", GATEWAY, replace("limits: { cpu: \"2\", memory: 512Mi, ",
                                                         "limits: { cpu: \"2\", "),
         ("StatefulSet gateway", "container gateway", "resources.limits.memory")),
    Case("policy", "no limit of disk", WRITER, replace("memory: 1Gi, ephemeral-storage: 256Mi",
                                                       "memory: 1Gi"),
         ("StatefulSet writer", "resources.limits.ephemeral-storage")),
    Case("policy", "no limit of a broker", KAFKA,
         replace('limits: { cpu: "2", memory: 2Gi, ', 'limits: { cpu: "2", '),
         ("KafkaNodePool brokers", "resources.limits.memory")),
    Case("policy", "no liveness probe", SERVICE, replace("containers/0/livenessProbe",
                                                         "containers/0/startupProbe"),
         ("StatefulSet gateway", "livenessProbe", "got none")),
    Case("policy", "readiness by the liveness route", SERVICE, replace("/readyz", "/livez"),
         ("Deployment query", "readinessProbe", "/livez", "want /readyz")),
    Case("policy", "a probe of another port", SERVICE,
         replace("path: /readyz, port: ops", "path: /readyz, port: http"),
         ("readinessProbe", "want /readyz of port ops")),
    Case("policy", "a process that may be root", PROCESS,
         replace("runAsNonRoot: true", "runAsNonRoot: false"), ("runAsNonRoot",)),
    Case("policy", "a root that can be written to", PROCESS,
         replace("readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false"),
         ("securityContext.readOnlyRootFilesystem: want true",)),
    Case("policy", "a kept capability", PROCESS,
         replace("drop: \\[ALL\\]", "drop: [NET_RAW]"), ("capabilities.drop: want [ALL]",)),
    Case("policy", "a process that may gain rights", PROCESS,
         replace("allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true"),
         ("allowPrivilegeEscalation: want false",)),
    Case("policy", "no seccomp profile", PROCESS,
         replace("type: RuntimeDefault", "type: Unconfined"),
         ("seccompProfile.type: want RuntimeDefault",)),
    Case("policy", "the latest image", f"{PROD}/kustomization.yaml",
         replace("name: heliograph/writer, newTag: 0.1.0",
                 "name: heliograph/writer, newTag: latest"),
         ("StatefulSet writer", "heliograph/writer:latest", "not latest")),
    Case("policy", "an image without a tag", "k8s/overlays/dev/kustomization.yaml",
         replace("^.*name: heliograph/cli.*$", ""),
         ("Job migrate", "got heliograph/cli, want name:tag")),
    Case("policy", "the latest ClickHouse", CLICKHOUSE,
         replace("clickhouse-server:26.3.17.4", "clickhouse-server:latest"),
         ("ClickHouseInstallation", "clickhouse-server:latest")),
    Case("policy", "a token of the cluster in a pod", PROCESS,
         replace("(automountServiceAccountToken\n  value:) false", r"\1 true"),
         ("automountServiceAccountToken: want false",)),
    Case("policy", "an account of another service", QUERY,
         replace("serviceAccountName: query", "serviceAccountName: gateway"),
         ("Deployment query", "serviceAccountName: got gateway")),
    Case("policy", "a password in a manifest", WRITER,
         replace("valueFrom: { secretKeyRef: { name: heliograph-clickhouse, key: writer } }",
                 "value: hunter2"), ("HELIOGRAPH_STORE__PASSWORD", "want a secretKeyRef")),
    Case("policy", "a Secret in the tree", base("namespace.yaml"), append("---\n" + A_SECRET),
         ("Secret s", "a Secret in the tree")),
    Case("policy", "a namespace that lets anything run", base("namespace.yaml"),
         replace("enforce: restricted", "enforce: privileged"),
         ("Namespace heliograph", "pod-security", "want restricted")),
    Case("policy", "one replica in production", f"{PROD}/kustomization.yaml",
         replace("name: gateway, count: 3", "name: gateway, count: 1"),
         ("StatefulSet gateway", "replicas: got 1", "want at least 2")),
    Case("policy", "a budget that no drain gets past", f"{PROD}/disruption.yaml",
         replace("maxUnavailable: 1(\n  selector:\n.*component: query)", r"minAvailable: 2\1"),
         ("PodDisruptionBudget query", "lets no pod of 2 go")),
    Case("policy", "a budget for nobody", f"{PROD}/disruption.yaml",
         replace("matchLabels: { app.kubernetes.io/component: writer }",
                 "matchLabels: { app.kubernetes.io/component: wirter }"),
         ("StatefulSet writer", "got 0 PodDisruptionBudgets")),
    Case("policy", "no spread over zones", f"{PROD}/patches/spread.yaml",
         replace("topologyKey: topology.kubernetes.io/zone", "topologyKey: topology.k8s.io/zone"),
         ("topologySpreadConstraints: want one over zones",)),
    Case("policy", "a resource that no step applies", f"{PROD}/disruption.yaml",
         replace("(name: gateway\n  labels: .*component:) gateway", r"\1 gatway"),
         ("PodDisruptionBudget gateway", "got gatway")),

    # ---- configuration keys, drain times, names, users
    Case("settings", "a key in the file that no code reads", TOML,
         replace("^listen = \"0.0.0.0:8082\"$", "lisen = \"0.0.0.0:8082\""),
         ("Deployment query", "lisen")),
    Case("settings", "a key in the environment that no code reads", GATEWAY,
         replace("HELIOGRAPH_GATEWAY__INSTANCE", "HELIOGRAPH_GATEWAY__INSTANCES"),
         ("StatefulSet gateway", "HELIOGRAPH_GATEWAY__INSTANCES")),
    Case("settings", "a value that the code refuses", TOML,
         append("\n[gateway.http]\ndrain_timeout = \"1s\"\n"),
         ("gateway.http.drain_timeout", "got 1s", "append_timeout")),
    Case("settings", "a file that nobody mounts", PROCESS,
         replace("mountPath: /etc/heliograph,", "mountPath: /etc/helio,"),
         ("HELIOGRAPH_CONFIG: got /etc/heliograph/heliograph.toml",)),
    Case("settings", "less grace than the gateway's drain", GATEWAY,
         replace("terminationGracePeriodSeconds: 30", "terminationGracePeriodSeconds: 20"),
         ("StatefulSet gateway", "terminationGracePeriodSeconds: got 20, want more than 21",
          "preStop 5 s", "gateway.http.drain_timeout 10 s", "gateway.leave_timeout 3 s")),
    Case("settings", "a longer drain of the writer than its grace", TOML,
         append("\n[writer.consumer]\ndrain_timeout_ms = 25000\n"),
         ("StatefulSet writer", "terminationGracePeriodSeconds: got 45",
          "writer.consumer.drain_timeout_ms 25 s")),
    Case("settings", "a drain of the query service set in its environment", QUERY,
         replace("- { name: HELIOGRAPH_STORE__USER,",
                 "- { name: HELIOGRAPH_QUERY__HTTP__DRAIN_TIMEOUT, value: 1m }\n            "
                 "- { name: HELIOGRAPH_STORE__USER,"),
         ("Deployment query", "query.http.drain_timeout 60 s")),
    Case("settings", "one name for all gateways", GATEWAY,
         replace("valueFrom: { fieldRef: { fieldPath: metadata.name } }", "value: gateway-0"),
         ("HELIOGRAPH_GATEWAY__INSTANCE", "metadata.name")),
    Case("settings", "more writers than partitions", f"{PROD}/kustomization.yaml",
         replace("name: writer, count: 3", "name: writer, count: 13"),
         ("StatefulSet writer", "replicas: got 13", "12 partitions")),
    Case("settings", "a listener that is not there", TOML,
         replace("bootstrap:9093", "bootstrap:9092"),
         ("log.kafka.bootstrap_servers: got heliograph-kafka-bootstrap:9092", ":9093")),
    Case("settings", "the Kafka user of another service", QUERY,
         replace("SASL_USERNAME, value: heliograph-query",
                 "SASL_USERNAME, value: heliograph-gateway"),
         ("Deployment query", "SASL_USERNAME: got heliograph-gateway")),
    Case("settings", "a user of ClickHouse without grants", CLICKHOUSE,
         replace("      heliograph_query/grants/query:\n.*\n", ""),
         ("ClickHouseInstallation heliograph", "heliograph_query/grants/query")),
    Case("settings", "the password of another user", WRITER,
         replace("name: heliograph-clickhouse, key: writer",
                 "name: heliograph-clickhouse, key: query"),
         ("StatefulSet writer", "store.user", "heliograph_writer")),
    Case("settings", "replicas of ClickHouse without a cluster to the services",
         f"{PROD}/patches/cluster.yaml", replace("value: heliograph }", "value: heliografh }"),
         ("store.cluster: got 'heliografh', want 'heliograph'",)),

    # ---- ports
    Case("network", "a port that nobody listens on", GATEWAY,
         replace("containerPort: 8080", "containerPort: 8081"),
         ("StatefulSet gateway", "'http': 8081", "'http': 8080")),
    Case("network", "a listener that nobody reaches", TOML,
         replace("0.0.0.0:8082", "127.0.0.1:8082"), ("query.listen: got 127.0.0.1:8082",)),
    Case("network", "a Service of another port", QUERY, replace("port: 8082, targetPort: grpc",
                                                                "port: 8082, targetPort: http"),
         ("Service query", "targetPort http")),
    Case("network", "a Service of nobody", base("query.yaml"),
         replace("^  selector: { app.kubernetes.io/component: query }",
                 "  selector: { app.kubernetes.io/component: queries }"),
         ("Service query", "selects no pod")),
    Case("network", "a port that no policy lets in to", NETWORK,
         replace("ports: \\[{ protocol: TCP, port: grpc }\\]",
                 "ports: [{ protocol: TCP, port: ops }]"),
         ("Deployment query", "let in to 9090, and it listens on 8082, 9090")),
    Case("network", "a policy for any port", NETWORK,
         replace("    - ports: \\[{ protocol: TCP, port: http }\\]", "    - from: []"),
         ("StatefulSet gateway", "let in to 9090, any")),
    Case("network", "a way to ClickHouse that the gateway does not need", NETWORK,
         replace("(name: to-clickhouse(.*\n)*?.*values: \\[)writer,", r"\1gateway, writer,"),
         ("StatefulSet gateway", "let out to 53, 8123, 9093, and it calls 53, 9093")),
    Case("network", "no names", NETWORK, replace("- { protocol: (UDP), port: 53 }\n(.*)port: 53",
                                                 r"- { protocol: \1, port: 54 }\n\2port: 54"),
         ("let out to 54", "it calls 53")),
    Case("network", "nothing denied", NETWORK,
         replace("policyTypes: \\[Ingress, Egress\\]\n---\n# Where",
                 "policyTypes: [Ingress]\n---\n# Where"),
         ("no NetworkPolicy that denies everything",)),

    # ---- topics and the cluster that keeps them
    Case("topics", "another number of partitions", TOPICS,
         first("partitions: 12", "partitions: 24"),
         ("KafkaTopic heliograph.uploads", "spec.partitions: got 24, want 12")),
    Case("topics", "a topic that is missing", TOPICS,
         replace("name: heliograph.dead-letters", "name: heliograph.deadletters"),
         ("no KafkaTopic heliograph.dead-letters", )),
    Case("topics", "a topic that nobody declared", "schemas/kafka/topics.toml",
         replace('name = "heliograph.dead-letters"', 'name = "heliograph.letters"'),
         ("KafkaTopic heliograph.dead-letters", "is not declared")),
    Case("topics", "a shorter retention", TOPICS,
         first("retention.ms: 604800000", "retention.ms: 86400000"),
         ("heliograph.uploads", "retention.ms: got 86400000, want 604800000")),
    Case("topics", "times of the sender", TOPICS,
         first("LogAppendTime", "CreateTime"),
         ("message.timestamp.type: got CreateTime, want LogAppendTime",)),
    Case("topics", "records that do not fit", TOPICS,
         first("max.message.bytes: 1114112", "max.message.bytes: 1048576"),
         ("max.message.bytes: got 1048576, want 1114112",)),
    Case("topics", "one copy in production", f"{PROD}/patches/topic.yaml",
         replace("(path: /spec/replicas\n  value:) 3", r"\1 1"),
         ("overlays/prod", "spec.replicas: got 1, want 3")),
    Case("topics", "an acknowledgement by one broker in production", f"{PROD}/patches/kafka.yaml",
         replace("(config/min.insync.replicas\n  value:) 2", r"\1 1"),
         ("Kafka heliograph", "min.insync.replicas: got 1, want 2")),
    Case("topics", "topics that make themselves", KAFKA,
         replace("auto.create.topics.enable: false", "auto.create.topics.enable: true"),
         ("auto.create.topics.enable: got True, want False",)),
    Case("topics", "a listener without authentication", KAFKA,
         replace("^ *authentication: .*\n", ""), ("listener tls: want tls and authentication",)),
    Case("topics", "a user that may delete", USERS,
         lambda text: text.replace("[Write, Describe]", "[Write, Describe, Delete]", 1),
         ("KafkaUser heliograph-gateway", "heliograph.uploads", "Delete")),

    # ---- compose.yaml
    Case("compose", "a key that compose does not have", "compose.yaml",
         replace("^  read_only: true", "  readonly: true"), ("readonly",)),
    Case("compose", "a process with a root to write to", "compose.yaml",
         replace("^  read_only: true", "  read_only: false"), ("gateway", "read_only: want true")),
    Case("compose", "the latest Kafka", "compose.yaml",
         replace("apache/kafka:4.1.1", "apache/kafka"),
         ("kafka", "image: got apache/kafka, want name:tag")),
    Case("compose", "a port for everybody", "compose.yaml",
         replace("127.0.0.1:8080:8080", "8080:8080"),
         ("gateway", "ports: got 8080:8080")),
    Case("compose", "a key in the environment that no code reads", "compose.yaml",
         replace("HELIOGRAPH_QUERY__LISTEN", "HELIOGRAPH_QUERY__LISTENS"),
         ("query", "HELIOGRAPH_QUERY__LISTENS")),
    Case("compose", "less grace than a drain", "compose.yaml",
         replace("stop_grace_period: 45s", "stop_grace_period: 10s"),
         ("gateway", "stop_grace_period: got 10s")),
    Case("compose", "a store that nobody waits for", "compose.yaml",
         replace("    healthcheck:\n      test: \\[CMD, clickhouse-client(.*\n){5}", ""),
         ("clickhouse", "healthcheck: want one")),
]
