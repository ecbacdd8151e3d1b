{{/* 43 characters: Argo adds "-backfill" and "-xxxxx", and the name of a workflow is a label. */}}
{{- define "sales-mart.fullname" -}}
{{- $name := .Values.fullnameOverride | default (ternary .Release.Name (printf "%s-sales-mart" .Release.Name) (contains "sales-mart" .Release.Name)) -}}
{{- $name | trunc 43 | trimSuffix "-" -}}
{{- end -}}

{{- define "sales-mart.namespace" -}}
{{- .Values.namespace | default .Release.Namespace -}}
{{- end -}}

{{- define "sales-mart.serviceAccount" -}}
{{- if not (or .Values.serviceAccount.create .Values.serviceAccount.name) -}}
{{- fail "serviceAccount.name: name the account that is there, or let serviceAccount.create make one" -}}
{{- end -}}
{{- .Values.serviceAccount.name | default (include "sales-mart.fullname" .) -}}
{{- end -}}

{{- define "sales-mart.image" -}}
{{- with .Values.image -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end -}}
{{- end -}}
{{- end -}}

{{- define "sales-mart.selector" -}}
app.kubernetes.io/name: sales-mart
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "sales-mart.labels" -}}
{{ include "sales-mart.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- with omit .Values.commonLabels "app.kubernetes.io/name" "app.kubernetes.io/instance" }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Labels and annotations of pods; those by which they are selected stay. */}}
{{- define "sales-mart.podMetadata" -}}
labels:
  {{- merge (include "sales-mart.selector" . | fromYaml) .Values.podLabels .Values.commonLabels | toYaml | nindent 2 }}
{{- with .Values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The pods' security context: takes (list $ context); a value of null takes a default away. */}}
{{- define "sales-mart.podSecurity" -}}
{{- range $key, $value := mergeOverwrite (index . 1) (index . 0).Values.podSecurityContext }}
{{- if ne $value nil }}
{{ $key }}: {{ toJson $value }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "sales-mart.metadata" -}}
name: {{ include "sales-mart.fullname" . }}
namespace: {{ include "sales-mart.namespace" . }}
labels:
  {{- include "sales-mart.labels" . | nindent 2 }}
{{- end -}}

{{/* The warehouses of the configuration, with commas around: ",postgres,bigquery,". */}}
{{- define "sales-mart.targets" -}}
{{- printf ",%s," (dig "data_warehouse" "targets" (list "postgres" "bigquery") .Values.config | join ",") -}}
{{- end -}}

{{/* The places of the configuration, with spaces between. */}}
{{- define "sales-mart.places" -}}
{{- $lake := dig "data_lake" dict .Values.config -}}
{{- $sources := kindIs "slice" $lake.source | ternary $lake.source (list $lake.source) | join " " -}}
{{- list $sources $lake.lake (dig "data_mart" "export" "" .Values.config) | join " " -}}
{{- end -}}

{{/* Whether a step asks Google for anything: BigQuery is a target, or a place is on gs://. */}}
{{- define "sales-mart.asksGoogle" -}}
{{- $bucket := dig "data_lake" "gcs_bucket" "" .Values.config -}}
{{- if or $bucket (contains "gs://" (include "sales-mart.places" .)) (contains ",bigquery," (include "sales-mart.targets" .)) }}yes{{ end -}}
{{- end -}}

{{/* Whether a place is on S3 or Azure. */}}
{{- define "sales-mart.asksObjectStore" -}}
{{- $places := include "sales-mart.places" . -}}
{{- if or (contains "s3://" $places) (contains "az://" $places) }}yes{{ end -}}
{{- end -}}

{{/*
What a run needs of the site, each warehouse and each secret once: whether it is used, its secret, the keys in it by the
placeholders of files/, and the port of its server where it has one that is not 443.
*/}}
{{- define "sales-mart.needs" -}}
postgres:
  used: {{ contains ",postgres," (include "sales-mart.targets" .) }}
  secret: {{ .Values.postgres.secretName | quote }}
  keys:
    - {placeholder: postgres-credentials/user, key: {{ .Values.postgres.userKey | quote }}}
    - {placeholder: postgres-credentials/password, key: {{ .Values.postgres.passwordKey | quote }}}
  port: {{ dig "data_warehouse" "postgres" "port" 5432 .Values.config | int64 }}
bigquery:
  used: {{ contains ",bigquery," (include "sales-mart.targets" .) }}
  secret: {{ .Values.bigquery.secretName | quote }}
  keys:
    - {placeholder: bigquery-credentials/credentials.json, key: {{ .Values.bigquery.key | quote }}}
piiHashKey:
  used: {{ eq "hmac-sha256" (dig "security" "algorithm" "sha256" .Values.config) }}
  secret: {{ .Values.piiHashKey.secretName | quote }}
  keys:
    - {placeholder: pii-hash-key/key, key: {{ .Values.piiHashKey.key | quote }}}
webhook:
  used: {{ .Values.notify.enabled }}
  secret: {{ .Values.notify.secretName | quote }}
  keys:
    - {placeholder: sales-mart-webhook/url, key: {{ .Values.notify.key | quote }}}
{{- end -}}

{{/* The site's secrets by the placeholders of files/: name/key -> name and key, where it has them. */}}
{{- define "sales-mart.secrets" -}}
{{- range $need := include "sales-mart.needs" . | fromYaml }}
{{- if and $need.used $need.secret }}
{{- range $need.keys }}
{{ .placeholder }}: {name: {{ $need.secret | quote }}, key: {{ .key | quote }}}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Lays the values over a container of files/, in place: takes (list $ container step). */}}
{{- define "sales-mart.overlay" -}}
{{- $ := index . 0 }}{{ $container := index . 1 }}{{ $step := index . 2 }}
{{- $secrets := include "sales-mart.secrets" $ | fromYaml }}
{{- $env := list }}
{{- range $each := $container.env }}
{{- if $each.valueFrom }}
{{- $ref := $each.valueFrom.secretKeyRef }}
{{- with index $secrets (printf "%s/%s" $ref.name $ref.key) }}
{{- $env = append $env (dict "name" $each.name "valueFrom" (dict "secretKeyRef" (mergeOverwrite (deepCopy $ref) .))) }}
{{- end }}
{{- else if or $.Values.bigquery.secretName (ne $each.name "GOOGLE_APPLICATION_CREDENTIALS") }}
{{- $env = append $env $each }}
{{- end }}
{{- end }}
{{- $mounts := list }}
{{- range $container.volumeMounts }}
{{- if or $.Values.bigquery.secretName (ne .name "google") }}{{ $mounts = append $mounts . }}{{ end }}
{{- end }}
{{- if $.Values.lake.existingClaim }}
{{- $mounts = append $mounts (dict "name" "lake" "mountPath" $.Values.lake.mountPath) }}
{{- end }}
{{- with $.Values.objectStore.secretName }}
{{- $_ := set $container "envFrom" (list (dict "secretRef" (dict "name" .))) }}
{{- end }}
{{- $_ := set $container "image" (include "sales-mart.image" $) }}
{{- $_ := set $container "imagePullPolicy" $.Values.image.pullPolicy }}
{{- $_ := set $container "env" (concat $env $.Values.extraEnv) }}
{{- $_ := set $container "volumeMounts" (concat $mounts $.Values.extraVolumeMounts) }}
{{- $_ := set $container "resources" (mergeOverwrite (deepCopy $.Values.resources) (dig "resources" dict $step | deepCopy)) }}
{{- end -}}

{{/* The volumes of a pod, from those of files/: takes (list $ volumes). */}}
{{- define "sales-mart.volumes" -}}
{{- $ := index . 0 }}
{{- range index . 1 }}
{{- if eq .name "config" }}
- {name: config, configMap: {name: {{ include "sales-mart.fullname" $ | quote }}}}
{{- else if eq .name "tmp" }}
- {name: tmp, emptyDir: {sizeLimit: {{ ($.Values.scratch | default $.Values.temporaryFiles).sizeLimit | quote }}}}
{{- else if and (eq .name "google") $.Values.bigquery.secretName }}
- name: google
  secret:
    secretName: {{ $.Values.bigquery.secretName | quote }}
    optional: true
    items: [{key: {{ $.Values.bigquery.key | quote }}, path: credentials.json}]
{{- end }}
{{- end }}
{{- with $.Values.lake.existingClaim }}
- {name: lake, persistentVolumeClaim: {claimName: {{ . | quote }}}}
{{- end }}
{{- with $.Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Names the workflow in its metrics, in place: takes (list spec-or-template name). */}}
{{- define "sales-mart.name-metrics" -}}
{{- $name := index . 1 }}
{{- range dig "metrics" "prometheus" list (index . 0) }}
{{- range .labels }}{{ if eq .key "workflow" }}{{ $_ := set . "value" $name }}{{ end }}{{ end }}
{{- end }}
{{- end -}}

{{- define "sales-mart.api.name" -}}
{{- printf "%s-api" (include "sales-mart.fullname" .) -}}
{{- end -}}

{{- define "sales-mart.api.serviceAccount" -}}
{{- if not (or .Values.api.serviceAccount.create .Values.api.serviceAccount.name) -}}
{{- fail "api.serviceAccount.name: name the account that is there, or let api.serviceAccount.create make one" -}}
{{- end -}}
{{- .Values.api.serviceAccount.name | default (include "sales-mart.api.name" .) -}}
{{- end -}}

{{/* Other than the steps' pods, whose rules let nobody in. */}}
{{- define "sales-mart.api.selector" -}}
app.kubernetes.io/name: sales-mart-api
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "sales-mart.api.labels" -}}
{{- merge (include "sales-mart.api.selector" . | fromYaml) (include "sales-mart.labels" . | fromYaml) | toYaml -}}
{{- end -}}

{{- define "sales-mart.api.metadata" -}}
name: {{ include "sales-mart.api.name" . }}
namespace: {{ include "sales-mart.namespace" . }}
labels:
  {{- include "sales-mart.api.labels" . | nindent 2 }}
{{- end -}}
