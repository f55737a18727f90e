{{- define "shelfwise.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-{{ .Chart.Name }}{{ end -}}
{{- end }}

{{- define "shelfwise.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* Called with (list $ "component"). */}}
{{- define "shelfwise.selector" -}}
app.kubernetes.io/name: {{ (index . 0).Chart.Name }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "shelfwise.labels" -}}
{{ include "shelfwise.selector" . }}
app.kubernetes.io/version: {{ (index . 0).Values.image.tag | default (index . 0).Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ (index . 0).Release.Service }}
helm.sh/chart: {{ (index . 0).Chart.Name }}-{{ (index . 0).Chart.Version }}
{{- end }}

{{- define "shelfwise.claim" -}}
{{ .Values.home.existingClaim | default (printf "%s-home" (include "shelfwise.name" .)) }}
{{- end }}

{{/* What every pod has in common. Kubernetes would name its services in variables that begin like settings: no service links. */}}
{{- define "shelfwise.pod" -}}
enableServiceLinks: false
automountServiceAccountToken: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The user of deploy/Dockerfile. */}}
{{- define "shelfwise.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "shelfwise.security" -}}
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
{{- end }}

{{/* A container of the project's own image, but for name, command, variables of its own, probes and resources. */}}
{{- define "shelfwise.container" -}}
image: {{ include "shelfwise.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  readOnlyRootFilesystem: true
  {{- include "shelfwise.security" . | nindent 2 }}
envFrom:
  - configMapRef: {name: {{ include "shelfwise.name" . }}}
  - secretRef: {name: {{ .Values.secret }}}
{{- end }}

{{- define "shelfwise.mounts" -}}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
  - {name: home, mountPath: /data}
{{- end }}

{{- define "shelfwise.volumes" -}}
volumes:
  - name: tmp
    emptyDir: {}
  - name: home
    persistentVolumeClaim: {claimName: {{ include "shelfwise.claim" . }}}
{{- end }}

{{/* On the pods that use the volume. */}}
{{- define "shelfwise.atHome" -}}
app.kubernetes.io/instance: {{ .Release.Name }}
shelfwise/home: shared
{{- end }}

{{/* Where the volume is of one node, all its pods must be there: the first of them chooses the node. */}}
{{- define "shelfwise.affinity" -}}
{{- if eq .Values.home.accessMode "ReadWriteOnce" }}
affinity:
  podAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      - topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels: {{ include "shelfwise.atHome" . | nindent 12 }}
{{- end }}
{{- end }}

{{/* Called with (list $ port). */}}
{{- define "shelfwise.scraped" -}}
{{- if (index . 0).Values.monitoring.annotations }}
prometheus.io/scrape: "true"
prometheus.io/port: {{ index . 1 | quote }}
prometheus.io/path: /metrics
{{- end }}
checksum/settings: {{ include (print (index . 0).Template.BasePath "/settings.yaml") (index . 0) | sha256sum }}
{{- end }}
