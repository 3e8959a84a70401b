{{/* The chart's name in object names. */}}
{{- define "computegrid.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* The prefix of object names: the release, and the chart's name unless the release already says it. */}}
{{- define "computegrid.fullname" -}}
{{- $name := include "computegrid.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "computegrid.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "computegrid.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.name: name the ServiceAccount to use when serviceAccount.create is false" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* The labels that select the pods; they never change, a Deployment's selector is immutable. */}}
{{- define "computegrid.selectorLabels" -}}
app.kubernetes.io/name: {{ include "computegrid.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{/* The labels of every object. */}}
{{- define "computegrid.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "computegrid.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: computegrid
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The image, by digest if there is one. */}}
{{- define "computegrid.image" -}}
{{- with .Values.image }}
{{- if .digest }}
{{- printf "%s@%s" .repository .digest }}
{{- else }}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) }}
{{- end }}
{{- end }}
{{- end }}

{{/* The port on which the operator serves metrics, probes and queries. */}}
{{- define "computegrid.httpPort" -}}
{{- .Values.operator.settings.httpPort | default 8080 | int }}
{{- end }}

{{/* What a ServiceMonitor's and a PodMonitor's endpoint have in common. */}}
{{- define "computegrid.scrape" -}}
port: http
path: /metrics
{{- with .interval }}
interval: {{ . }}
{{- end }}
{{- with .scrapeTimeout }}
scrapeTimeout: {{ . }}
{{- end }}
honorLabels: {{ .honorLabels }}
{{- with .relabelings }}
relabelings:
{{ toYaml . | indent 2 }}
{{- end }}
{{- with .metricRelabelings }}
metricRelabelings:
{{ toYaml . | indent 2 }}
{{- end }}
{{- end }}

{{/* The API version that serves MutatingAdmissionPolicy; empty when the policy is not wanted or not served. */}}
{{- define "computegrid.finalizerPolicyVersion" -}}
{{- $group := "admissionregistration.k8s.io" }}
{{- $v1 := .Capabilities.APIVersions.Has (printf "%s/v1/MutatingAdmissionPolicy" $group) }}
{{- $v1beta1 := .Capabilities.APIVersions.Has (printf "%s/v1beta1/MutatingAdmissionPolicy" $group) }}
{{- $wanted := .Values.finalizerPolicy.enabled | toString }}
{{- if or (eq $wanted "true") (and (eq $wanted "auto") (or $v1 $v1beta1)) }}
{{- if or $v1 (not $v1beta1) }}
{{- printf "%s/v1" $group }}
{{- else }}
{{- printf "%s/v1beta1" $group }}
{{- end }}
{{- end }}
{{- end }}
